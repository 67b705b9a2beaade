"""One-shot commands: `trainingjob gc`, `prune`, `release-finalizers`, `record-token`, `smoke`."""
