"""Trees: how they are grown, kept and shown; shared by boosting and forests."""
