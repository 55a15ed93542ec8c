"""The `everanimate` command, one file a subcommand."""
