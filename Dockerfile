# One image for every Sluice process: Airflow's components, the receiver, and (for a rehearsal) the simulated hospital.
FROM python:3.11-slim-bookworm

RUN useradd --create-home --uid 10001 sluice \
 && install -d -o sluice -g sluice /sluice /sluice/var /airflow

WORKDIR /sluice
COPY requirements.txt ./
RUN pip install --no-cache-dir uv==0.9.* \
 && uv pip install --system --no-cache -r requirements.txt

COPY --chown=sluice:sluice . .
RUN uv pip install --system --no-cache --no-deps -e .

USER sluice
ENV AIRFLOW_HOME=/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/sluice/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    SLUICE_HOME=/sluice/var \
    PYTHONUNBUFFERED=1
CMD ["python", "-m", "sluice", "--help"]
