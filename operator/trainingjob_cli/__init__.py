"""The command line, `trainingjob`: the only package that imports the others."""
