"""The API `trainingjob.dev/v1alpha1`: its names, wire types, errors, and the CRDs generated from them.

`validation` parses objects from the API server. `crd` generates the CRDs; it is imported on demand
because it loads the schema of the pod template. This file imports nothing, so that a small process
that needs a constant does not load the models.
"""
