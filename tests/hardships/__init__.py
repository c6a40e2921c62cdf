"""What a sceptic would do to an application under the distro: outages, forks, bad settings, ends, other suites."""
