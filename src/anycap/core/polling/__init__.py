"""When to ask for a result: learned solve times and the schedule planned from them. Pure."""
