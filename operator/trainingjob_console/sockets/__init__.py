"""WebSockets of browser tabs: the frames they are sent, and the limits of sockets and queues."""
