"""How each step runs in Airflow: task groups, triggers, hooks, assets, connections."""
