"""What the HTTP servers of the record service and of the console share: their socket, connections and logs."""
