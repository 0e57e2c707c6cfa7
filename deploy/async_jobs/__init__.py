"""Long work over HTTP: jobs that are kept in a folder or a bucket until they are done."""

from kintsugi.deploy.async_jobs.batches import add_batch_routes
from kintsugi.deploy.async_jobs.routes import add_job_routes
from kintsugi.deploy.async_jobs.service import open_jobs

__all__ = ["add_batch_routes", "add_job_routes", "open_jobs"]
