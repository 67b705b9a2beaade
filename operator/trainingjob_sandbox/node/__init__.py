"""The sandbox's node: it runs the pods of TrainingJobs as processes of this machine.

It speaks the ordinary Kubernetes API only, so it serves the sandbox's API server and a real one
alike. It is a kubelet for one kind of pod, not a container runtime: images are never pulled.
"""
