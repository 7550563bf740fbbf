"""What adaptation did to a trained network: what its features tell before and after, which term acted, and whether it harmed."""
