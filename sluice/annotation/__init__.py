"""What people see on films: answers of several readers, who decides between them, and what training takes from it."""
