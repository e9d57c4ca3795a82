"""A training as one page of HTML that needs nothing else: what is known of it as data, and how that is drawn."""
