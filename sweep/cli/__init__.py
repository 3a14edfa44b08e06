"""The command line: parse, call, print. Nothing else prints or exits."""
