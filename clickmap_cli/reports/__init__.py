"""Floor 5: results turned into what people look at: tables, figures, pages."""
