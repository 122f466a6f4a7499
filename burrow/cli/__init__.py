"""The command line: one module a group of commands. Nothing here but words, files and the screen."""
