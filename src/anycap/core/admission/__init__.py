"""May this request go now: the guard and the parts it is made of. Pure."""
