"""How one pack of networks trains: torch and torchvision, without Ray, Optuna or pandas."""
