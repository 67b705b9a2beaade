"""What is kept in memory: bounded, synchronous, without IO."""
