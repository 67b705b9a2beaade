"""What is run once and ends: `trainingjob gc`, `prune`, `release-finalizers`, `record-token`, `smoke`."""
