-- format_table(columns, rows, total) -> a table with aligned columns. A column is { title =, right = true or nil, most = or nil }, a
-- row is an array of strings. A string longer than `most` does not widen the column; the rest of its row is not aligned.

local style = module:require "terminal".style;

local GAP = "  ";

local function widths_of(columns, rows)
	local widths = {};
	for i, column in ipairs(columns) do
		widths[i] = #column.title;
		for _, row in ipairs(rows) do
			local width = utf8.len(row[i]) or #row[i];
			if width <= (column.most or math.huge) then widths[i] = math.max(widths[i], width); end
		end
	end
	return widths;
end

local function line(columns, widths, row)
	local cells = {};
	for i, column in ipairs(columns) do
		local space = (" "):rep(widths[i] - (utf8.len(row[i]) or #row[i]));
		cells[i] = column.right and space..row[i] or row[i]..space;
	end
	return (table.concat(cells, GAP):gsub(" +$", ""));
end

return function (columns, rows, total)
	local titles = {};
	for i, column in ipairs(columns) do titles[i] = column.title; end
	local all = table.move(rows, 1, #rows, 1, {});
	all[#all + 1] = total;
	local widths = widths_of(columns, all);
	local lines = { style("dim", line(columns, widths, titles)) };
	for _, row in ipairs(rows) do lines[#lines + 1] = line(columns, widths, row); end
	if total then lines[#lines + 1] = style("bold", line(columns, widths, total)); end
	return table.concat(lines, "\n").."\n";
end
