"""The web viewer: look at a prediction, its evidence and its arithmetic in a browser.

A small Starlette application on uvicorn, and one page of plain HTML, CSS and JavaScript modules. Gradio, Panel and
Streamlit would have been less code, but load fonts or scripts from elsewhere or ask for telemetry to be switched off,
bring dozens of packages, and need inline scripts, which a strict content security policy forbids.
"""
