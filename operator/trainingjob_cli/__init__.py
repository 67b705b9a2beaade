"""The command line, `trainingjob`; the only package that imports all of the others."""
