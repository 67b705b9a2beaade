"""The sandbox's node: runs the pods of TrainingJobs as processes of this machine.

It uses only the ordinary Kubernetes API, so it works with the sandbox's API server and with a real
one. It is a kubelet for one kind of pod, not a container runtime: images are never pulled,
resource limits and security contexts are not enforced, probes and hooks are not run, and pods
share the machine's network. Processes run with the rights of the user who started the node. So it
starts only against a cluster that has its nonce (`cluster_nonce.py`).
"""
