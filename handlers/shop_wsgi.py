"""A Flask application, as `wsgi:shop_wsgi:app,shop_wsgi.restock`: requests go to Flask, all other events to restock."""

from flask import Flask, jsonify

app = Flask(__name__)
stock = {"samovar": 3}


@app.post("/orders")
def take():
    left = stock["samovar"] = max(0, stock["samovar"] - 1)
    return jsonify(item="samovar", left=left), 201


def restock(event, context):
    """What a schedule calls."""
    stock["samovar"] = 3
    return stock
