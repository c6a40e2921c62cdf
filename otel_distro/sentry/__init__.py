"""The bridge to Sentry: spans by OTLP from our own batches, errors by sentry-sdk, tied together by trace and span id.

sentry-sdk is imported only where `SENTRY_DSN` is set.
"""
