"""What each stage trains: every module here is a stage, and its name is the stage's."""
