"""What runs models without the compiler."""
