"""Pure decisions: values in, values out, `now` as an argument; no IO, no clock, no logging."""
