"""What runs inside the environment of a peer: started as a program, its modules import each other flat."""
