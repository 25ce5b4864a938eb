-- Stands for a shape of data: the recipe host reads the names of its fields.
return {
  fields = {
    instruction = { type = "string" },
    input = { type = "string", default = "" },
    output = { type = "string" },
  },
}
