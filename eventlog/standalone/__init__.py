"""Files that are handed on with a log and run without us. They import nothing but the standard library."""
