"""What is asked of the program: the schema and its checks, files with configs, help, and the wording of mistakes."""
