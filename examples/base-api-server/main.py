# What:  a small HTTP API that Berth fetches, builds, runs and watches.
# Needs: Python 3.10 or newer and the packages in requirements.txt.
# Try:   uvicorn main:app --port 5000, then curl http://127.0.0.1:5000/health
from fastapi import FastAPI

VERSION = "1.0.0"

app = FastAPI(title="base-api-server", version=VERSION)


@app.get("/")
async def index() -> dict[str, str]:
    return {"message": "Hello from Berth", "version": VERSION}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}
