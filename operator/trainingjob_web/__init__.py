"""What the programs share: bounded HTTP connections and how they are served, settings, logs, and the kubeconfig."""
