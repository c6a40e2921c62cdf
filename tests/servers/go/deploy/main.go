// Program composecheck loads a compose file as `docker compose` does, refuses what the specification does not know, and prints
// the whole project as JSON: names resolved, variables of the caller's environment put in.
//
//	composecheck FILE
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "composecheck:", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	options, err := cli.NewProjectOptions(files, cli.WithOsEnv, cli.WithConsistency(true), cli.WithProfiles([]string{"*"}))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	printed, err := project.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(printed)
	return err
}
