"""Quality: what is wrong with a window's headers, said rule by rule and UID by UID."""
