"""Stand-ins for every model, judge and data set of a real study, and a model hub that serves them.

`build.build` makes the repositories and the files of the web once, `hub.Hub` serves them on
loopback, and `asking.ask` puts one of `questions` to them in a process of its own.
"""
