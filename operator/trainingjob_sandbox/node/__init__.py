"""The sandbox's node: it runs the pods of TrainingJobs as processes of this machine.

It speaks the ordinary Kubernetes API only, so it serves the sandbox's API server and a real one
alike. It is a kubelet for one kind of pod, not a container runtime: images are never pulled,
resource limits and security contexts are not enforced, probes and hooks are not carried out, and
pods share the machine's network. Processes have the rights of whoever started the node, which is
why it starts only against a cluster that carries its nonce (`mark.py`).
"""
