"""Deletes expired finished jobs and old files, by RetentionPolicies, and writes their status."""
