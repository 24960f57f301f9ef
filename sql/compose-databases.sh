#!/bin/sh
# Airflow's database belongs to its own user, who has nothing to say in Sluice's. Run once, by the image of Postgres.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$(cat /run/secrets/airflow_database_password)" --username "$POSTGRES_USER" <<'SQL'
create role airflow login password :'password';
create database airflow owner airflow;
SQL
