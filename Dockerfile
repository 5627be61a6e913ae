# The program with the locked versions of its libraries: docker build --tag gmm_pipeline .
FROM python:3.12-slim AS build
ARG EXTRAS=report
WORKDIR /source
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY conf/ conf/
COPY gmm_pipeline/ gmm_pipeline/
COPY hydra_plugins/ hydra_plugins/
# Of the lock only what is asked for is installed, so its versions are constraints, which may not have hashes.
RUN sed -n 's/^\([a-z].*==.*\) \\$/\1/p' requirements.lock > constraints.txt \
    && python -m venv /opt/gmm \
    && /opt/gmm/bin/pip install --no-cache-dir --constraint constraints.txt ".[$EXTRAS]"

FROM python:3.12-slim
COPY --from=build /opt/gmm /opt/gmm
# Any user can own /work, so it is the home folder too: the cache of compiled programs is kept there.
ENV PATH=/opt/gmm/bin:$PATH HOME=/work
RUN useradd --uid 1000 --home-dir /work --create-home gmm
WORKDIR /work
USER gmm
ENTRYPOINT ["gmm-pipeline"]
CMD ["--help"]
