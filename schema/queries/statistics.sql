-- Which statistics are there by name, of which model, over which images?
-- view statistics_named
SELECT name, model, data_set, images, classes, layers, channels, note FROM statistics_named
ORDER BY name;
