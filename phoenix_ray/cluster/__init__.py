"""The Ray job: plan, driver, worker actors, progress."""
