"""A small shop of two services, written as people write them: there is no line of telemetry code in here.

`shop.orders` is asynchronous and takes orders; `shop.inventory` has plain functions as handlers and keeps the stock.
"""
