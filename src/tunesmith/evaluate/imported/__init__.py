"""Results that another harness wrote, as a report: lm-eval's samples, Inspect's logs, promptfoo's results."""
