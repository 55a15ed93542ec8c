"""How the toy's networks were trained."""
