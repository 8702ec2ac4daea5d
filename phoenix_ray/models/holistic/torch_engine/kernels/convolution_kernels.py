"""The kernels of `convolutions`: each output is one chain of fused multiply-adds that starts with its bias.

A program computes a tile of outputs by cells. The cells of all items form one axis, so that tiles are full however
small a plane is: place p is cell p % cells of item p // cells. Terms of a sum are taken `depth` at a time, in XNNPACK's
order; terms beyond the last, and cells outside of a feature map, are zeros, which change no sum. Tiles cut the outputs
and never a sum, so that they do not change a bit, and an item's numbers do not depend on the others of its batch.

Sizes and strides are numbers at run time, on which Triton does not specialise: networks with a hundred shapes share a
few compiled kernels. What decides how memory is read stays known to the compiler through `unit`: planes and strides are
given as multiples of it, and where it is 4, four numbers are loaded at once.

Compile-time parameters:
    unit: 1 or 4.
    adjacent: Which numbers of `out` lie side by side: 'cells', 'channels' or 'neither'.
    activation, between, last: 'bounds' (none, relu, relu6, by the numbers `low` and `high`) or 'prelu'.
    added: The residual: 'nothing', 'cells' or 'pooled'.
    precision: Of float32 products: 'ieee' or 'tf32'.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Triton would compile a kernel for each pattern of these that are 1 or multiples of 16.
_SIZES = (
    *("items", "channels", "height", "width", "plane", "features_item", "outputs", "cells", "out_width"),
    *("out_item", "out_channel", "out_cell", "residual_item", "residual_channels", "rows", "columns"),
    *("row_stride", "column_stride", "row_padding", "column_padding", "row_dilation", "column_dilation"),
    *("low", "high", "between_low", "between_high", "last_low", "last_high"),
)


@triton.jit
def _activate(values, slope, channel, is_channel, low, high, kind: tl.constexpr):
    """Return values (channels, cells) after an activation; NaN and the sign of zero stay."""
    if kind == "prelu":
        slopes = tl.load(slope + channel, mask=is_channel, other=0.0)
        return tl.where(values > 0, values, values * slopes[:, None])
    values = tl.where(values < low, low, values)
    return tl.where(values > high, high, values)


@triton.jit
def _tile(items, channels, cells, tile_channels: tl.constexpr, tile_cells: tl.constexpr):
    """Return where this program computes: first channel, first item, items from there on, cells, and which exist.

    Items count from the first, so that offsets from it fit 32 bits.
    """
    blocks = tl.cdiv(channels, tile_channels)
    first = tl.program_id(0) // blocks * tile_cells
    place = first + tl.arange(0, tile_cells)
    item = first // cells
    first_channel = tl.program_id(0) % blocks * tile_channels
    return first_channel, item.to(tl.int64), place // cells - item, place % cells, place < items * cells


@triton.jit
def _bias_of(bias, output, outputs, tile_outputs: tl.constexpr, tile_cells: tl.constexpr):
    """Return the sums (outputs, cells) before their first product; -0 becomes 0, as if the bias were one too."""
    biases = tl.load(bias + output, mask=output < outputs, other=0.0)
    return tl.zeros((tile_outputs, tile_cells), tl.float32) + biases[:, None]


@triton.jit
def _add_products(sums, weight, pitch, term, is_term, output, values, precision: tl.constexpr):
    """Return sums (outputs, cells) with the products of weights and values (terms, cells) added one after the other."""
    factors = tl.load(
        weight + term[None, :] * pitch + output[:, None],
        mask=is_term[None, :] & (output < pitch)[:, None],
        other=0.0,
    )
    return tl.dot(factors, values.to(weight.dtype.element_ty), sums, input_precision=precision)


@triton.jit
def _finish(
    sums, channel, channels, first_item, item, cell, is_cell,
    slope, residual, last_slope, out,
    cells, out_width, out_item, out_channel, out_cell, residual_item, residual_channels,
    low, high, last_low, last_high,
    activation: tl.constexpr, added: tl.constexpr, last: tl.constexpr, adjacent: tl.constexpr, unit: tl.constexpr,
):  # fmt: skip
    """Activate sums (channels, cells), add the residual, activate again and store."""
    is_channel = channel < channels
    values = _activate(sums, slope, channel, is_channel, low, high, activation)
    if added != "nothing":
        residual += first_item * (residual_item * unit)
        near = item * (residual_item * unit)
        mask = (channel < residual_channels)[:, None] & is_cell[None, :]
        if added == "pooled":
            corner = cell // out_width * (4 * out_width) + cell % out_width * 2
            near = residual + (near + corner)[None, :] + channel[:, None] * (4 * cells)
            # Column by column, as a maximum that keeps the first of equal numbers meets them.
            most = tl.load(near, mask=mask, other=0.0)
            for tap in range(1, 4):
                other = tl.load(near + tap % 2 * (2 * out_width) + tap // 2, mask=mask, other=0.0)
                most = tl.where(other > most, other, most)
        else:
            most = tl.load(residual + (near + cell)[None, :] + channel[:, None] * cells, mask=mask, other=0.0)
        values = _activate(values + most.to(tl.float32), last_slope, channel, is_channel, last_low, last_high, last)
    if adjacent == "cells":
        out += first_item * (out_item * unit)
        place = (item * (out_item * unit) + cell)[None, :] + channel[:, None] * (out_channel * unit)
    else:
        out += first_item * out_item
        place = (item * out_item + cell * out_cell)[None, :]
        if adjacent == "channels":
            place += channel[:, None]
        else:
            place += channel[:, None] * out_channel
    tl.store(out + place, values.to(out.dtype.element_ty), mask=is_channel[:, None] & is_cell[None, :])


@triton.jit(do_not_specialize=_SIZES)
def dense(
    features, weight, bias, slope, residual, last_slope, out,
    items, channels, height, width, plane, features_item, outputs, pitch, cells, out_width,
    out_item, out_channel, out_cell, residual_item, residual_channels,
    rows, columns, row_stride, column_stride, row_padding, column_padding, row_dilation, column_dilation,
    low, high, last_low, last_high,
    windows: tl.constexpr, activation: tl.constexpr, added: tl.constexpr, last: tl.constexpr,
    adjacent: tl.constexpr, unit: tl.constexpr, precision: tl.constexpr,
    tile_outputs: tl.constexpr, rest_outputs: tl.constexpr, tile_cells: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """A convolution over all channels; without `windows` one of single cells, side by side."""
    cells, plane = cells * unit, plane * unit
    first_output, first_item, item, cell, is_cell = _tile(
        items, outputs, cells, tile_outputs + rest_outputs, tile_cells
    )
    features += first_item * (features_item * unit)
    start = item * (features_item * unit)
    output = first_output + tl.arange(0, tile_outputs)
    sums = _bias_of(bias, output, outputs, tile_outputs, tile_cells)
    if rest_outputs:
        further = first_output + tile_outputs + tl.arange(0, rest_outputs)
        rest = _bias_of(bias, further, outputs, rest_outputs, tile_cells)
    if windows:
        top, left = cell // out_width * row_stride - row_padding, cell % out_width * column_stride - column_padding
        terms = rows * columns * channels
    else:
        start += cell
        terms = channels
    for first in range(0, terms, depth):
        term = first + tl.arange(0, depth)
        is_term = term < terms
        if windows:
            tap = term // channels
            row = top[None, :] + (tap // columns * row_dilation)[:, None]
            column = left[None, :] + (tap % columns * column_dilation)[:, None]
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            met = features + start[None, :] + (term % channels * plane)[:, None] + row * width + column
            values = tl.load(met, mask=inside & is_term[:, None] & is_cell[None, :], other=0.0)
        else:
            met = features + start[None, :] + term[:, None] * plane
            values = tl.load(met, mask=is_term[:, None] & is_cell[None, :], other=0.0)
        sums = _add_products(sums, weight, pitch, term, is_term, output, values, precision)
        if rest_outputs:
            rest = _add_products(rest, weight, pitch, term, is_term, further, values, precision)
    _finish(
        sums, output, outputs, first_item, item, cell, is_cell, slope, residual, last_slope, out,
        cells, out_width, out_item, out_channel, out_cell, residual_item, residual_channels,
        low, high, last_low, last_high, activation, added, last, adjacent, unit,
    )  # fmt: skip
    if rest_outputs:
        _finish(
            rest, further, outputs, first_item, item, cell, is_cell, slope, residual, last_slope, out,
            cells, out_width, out_item, out_channel, out_cell, residual_item, residual_channels,
            low, high, last_low, last_high, activation, added, last, adjacent, unit,
        )  # fmt: skip


@triton.jit
def _depthwise_sums(
    features, start, weight, bias, channel, channels, top, left, is_cell,
    height, width, plane, rows, columns, row_dilation, column_dilation,
    scales: tl.constexpr, tile_channels: tl.constexpr, tile_cells: tl.constexpr,
):  # fmt: skip
    """Return the sums (channels, cells) of a depthwise convolution, added up column by column.

    Where it `scales`, its only product is rounded before the bias is added. Channels beyond the last repeat it, for
    whoever drops them: so no load needs a mask for channels.
    """
    channel = tl.minimum(channel, channels - 1)
    sums = tl.broadcast_to(tl.load(bias + channel)[:, None], (tile_channels, tile_cells))
    start = start[None, :] + (channel * plane)[:, None]
    weight += channel * (rows * columns)
    if scales:
        inside = is_cell & (top >= 0) & (top < height) & (left >= 0) & (left < width)
        values = tl.load(features + start + (top * width + left)[None, :], mask=inside[None, :], other=0.0)
        return values.to(tl.float32) * tl.load(weight).to(tl.float32)[:, None] + sums
    for across in range(columns):
        column = left + across * column_dilation
        for down in range(rows):
            row = top + down * row_dilation
            inside = is_cell & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            met = features + start + (row * width + column)[None, :]
            values = tl.load(met, mask=inside[None, :], other=0.0).to(tl.float32)
            factors = tl.load(weight + across * rows + down).to(tl.float32)
            sums = tl.fma(tl.broadcast_to(factors[:, None], (tile_channels, tile_cells)), values, sums)
    return sums


@triton.jit(do_not_specialize=_SIZES)
def depthwise(
    features, weight, bias, slope, residual, last_slope, out,
    items, channels, height, width, plane, features_item, cells, out_width,
    out_item, out_channel, out_cell, residual_item, residual_channels,
    rows, columns, row_stride, column_stride, row_padding, column_padding, row_dilation, column_dilation,
    low, high, last_low, last_high,
    scales: tl.constexpr, activation: tl.constexpr, added: tl.constexpr, last: tl.constexpr,
    adjacent: tl.constexpr, unit: tl.constexpr, tile_channels: tl.constexpr, tile_cells: tl.constexpr,
):  # fmt: skip
    """A convolution of each channel on its own."""
    cells, plane = cells * unit, plane * unit
    first_channel, first_item, item, cell, is_cell = _tile(items, channels, cells, tile_channels, tile_cells)
    channel = first_channel + tl.arange(0, tile_channels)
    top, left = cell // out_width * row_stride - row_padding, cell % out_width * column_stride - column_padding
    features += first_item * (features_item * unit)
    sums = _depthwise_sums(
        features, item * (features_item * unit), weight, bias, channel, channels, top, left, is_cell,
        height, width, plane, rows, columns, row_dilation, column_dilation, scales, tile_channels, tile_cells,
    )  # fmt: skip
    _finish(
        sums, channel, channels, first_item, item, cell, is_cell, slope, residual, last_slope, out,
        cells, out_width, out_item, out_channel, out_cell, residual_item, residual_channels,
        low, high, last_low, last_high, activation, added, last, adjacent, unit,
    )  # fmt: skip


@triton.jit(do_not_specialize=_SIZES)
def separable(
    features, depthwise_weight, depthwise_bias, between_slope, weight, bias, slope, residual, last_slope, out,
    items, channels, height, width, plane, features_item, outputs, pitch, cells, out_width,
    out_item, out_channel, out_cell, residual_item, residual_channels,
    rows, columns, row_stride, column_stride, row_padding, column_padding, row_dilation, column_dilation,
    between_low, between_high, low, high, last_low, last_high,
    between: tl.constexpr, activation: tl.constexpr, added: tl.constexpr, last: tl.constexpr,
    adjacent: tl.constexpr, unit: tl.constexpr, precision: tl.constexpr,
    tile_outputs: tl.constexpr, rest_outputs: tl.constexpr, tile_cells: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """A depthwise convolution, an activation, and a convolution of single cells: nothing in between is stored."""
    cells, plane = cells * unit, plane * unit
    first_output, first_item, item, cell, is_cell = _tile(
        items, outputs, cells, tile_outputs + rest_outputs, tile_cells
    )
    top, left = cell // out_width * row_stride - row_padding, cell % out_width * column_stride - column_padding
    features += first_item * (features_item * unit)
    start = item * (features_item * unit)
    output = first_output + tl.arange(0, tile_outputs)
    sums = _bias_of(bias, output, outputs, tile_outputs, tile_cells)
    if rest_outputs:
        further = first_output + tile_outputs + tl.arange(0, rest_outputs)
        rest = _bias_of(bias, further, outputs, rest_outputs, tile_cells)
    for first in range(0, channels, depth):
        channel = first + tl.arange(0, depth)
        is_channel = channel < channels
        # Its taps are loops and not unrolled: unrolled they spill registers.
        values = _depthwise_sums(
            features, start, depthwise_weight, depthwise_bias, channel, channels, top, left, is_cell,
            height, width, plane, rows, columns, row_dilation, column_dilation, False, depth, tile_cells,
        )  # fmt: skip
        values = _activate(values, between_slope, channel, is_channel, between_low, between_high, between)
        sums = _add_products(sums, weight, pitch, channel, is_channel, output, values, precision)
        if rest_outputs:
            rest = _add_products(rest, weight, pitch, channel, is_channel, further, values, precision)
    _finish(
        sums, output, outputs, first_item, item, cell, is_cell, slope, residual, last_slope, out,
        cells, out_width, out_item, out_channel, out_cell, residual_item, residual_channels,
        low, high, last_low, last_high, activation, added, last, adjacent, unit,
    )  # fmt: skip
    if rest_outputs:
        _finish(
            rest, further, outputs, first_item, item, cell, is_cell, slope, residual, last_slope, out,
            cells, out_width, out_item, out_channel, out_cell, residual_item, residual_channels,
            low, high, last_low, last_high, activation, added, last, adjacent, unit,
        )  # fmt: skip
