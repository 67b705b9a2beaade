"""What programs besides the operator share: bounded HTTP connections, their socket, logs, and the kubeconfig."""
