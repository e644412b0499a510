"""Where tools run. Today: `state`, toolkits over plain data in this process."""
